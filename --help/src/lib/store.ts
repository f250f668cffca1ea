import { create } from 'zustand';

interface Preferences {
  compact: boolean;
  search: string;
  toggleCompact: () => void;
  setSearch: (search: string) => void;
}

export const usePreferences = create<Preferences>((set) => ({
  compact: false,
  search: '',
  toggleCompact: () => set((state) => ({ compact: !state.compact })),
  setSearch: (search) => set({ search }),
}));
