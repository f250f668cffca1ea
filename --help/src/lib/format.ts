import { format, formatDistance } from 'date-fns';

const money = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });

export const formatMoney = (cents: number) => money.format(cents / 100);
export const formatDay = (date: Date) => format(date, 'd MMM yyyy');
export const formatAge = (date: Date, now: Date) => formatDistance(date, now, { addSuffix: true });
